"""The command `corpus`: parse, ask, print, exit. Nothing else in the package prints or exits.

main          the command itself, and its errors
commands      the table of commands and their files
deployments   start, confirm and cancel deployments  deploy, rollback, watch, task, repair, cancel
looking       read-only commands                     status, history, log, diff, config, doctor, …
audit         who did what                           audit
backups       back up and restore                    backup, backups, drill, restore
disaster      back up and restore a whole host       backup --host, restore --host
check         check before deploying                 check
run           run a command as the application       run
assign        set variables                          set, unset
setting       change settings of a project           setting
projects      create and remove projects             init, remove
made          generated from the operations table    archives, stats, link, …
granting      options that give a right, for keys, tokens and accounts
keys          ssh keys and freezes                   key, freeze, thaw
nodes         the nodes of a controller              node
node_session  a controller's session on its node     node serve
tokens        tokens of the API                      token
accounts      people who sign in to the pages        account
web           serve the pages and the API            web
notify        test notifications                     notify
host          the host itself                        setup, rebuild, help, demo
daemon        the daemon, loading little beside it   daemon
demo, pages   the demo, the pages of the documentation
offer         the pages of the demo
tables        reports as tables, on a terminal
base          shared by all of these
"""
