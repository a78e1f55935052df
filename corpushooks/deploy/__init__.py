"""The procedure, its queue and its recovery.

deploy       the tables of steps, forward and back        procedure    how a table of steps runs
steps        what each step does                          prepare      which commits to deploy, and the checks first
recovery     finish interrupted deployments               lanes        one queue per project
run          one running deployment                       session      its Salt session
voice        writes its log                               progress     an SLS while it runs
deadline     its time limits                              hold         wait until it is confirmed
prepared     wait for a controller

push         what a push means                            plan         what a deployment would change
inplace      deploy edits made on the server              watches      deploy edits as they are saved
task         run one task_NAME.sls                        restart      restart units
testing      the JUnit files that a task leaves

keeping      back up a project, by request or first       saving       what a backup is made of
parts        the folders that it keeps, and its names     expired      remove old backups
pausing      pause the application meanwhile              apart        run one SLS file from exported commits
restoring    restore a backup                             returned     what came back, compared with what it was
placing      the folders that it puts in place            loading      the dumps that it loads
drilling     test that a backup can be restored           tending      prune and check the repository

archives     the archives of a project                    trees        check out stage, project/ and pillar/
pillars      the pillar, for Salt and for people          reruns       SLS that run again in a rollback
survivors    processes that a deployment leaves running   beyond       undo what states wrote outside a project
"""
