"""The procedure, its queue and its recovery.

deploy       the tables of steps, forward and back        procedure    how a table of steps runs
steps        what each step does                          prepare      from which commits to which, and whether it can
recovery     end what was interrupted                     lanes        one queue per project
run          one deployment at work                       session      its session of Salt
voice        what it says                                 progress     an SLS while it runs
deadline     how long it may take                         hold         wait until it is confirmed

push         what a push means                            plan         what a deployment would change
inplace      deploy what was edited on the server         watches      projects whose edits are deployed when saved
task         one task_NAME.sls                            restart      restart units
saving       a backup                                     restoring    bring a backup back
drilling     prove that a backup comes back

archives     the archives of a project                    trees        bring stage, project/ and pillar/ to commits
pillars      the pillar, for Salt and for people          reruns       SLS that run again in a rollback
survivors    what a deployment leaves running             beyond       undo what states wrote outside a project
"""
