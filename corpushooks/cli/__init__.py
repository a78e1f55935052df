"""The command `corpus`: parse, ask, print, exit. Nothing else in the package prints or exits.

main          the command itself, and its errors
commands      which file has which command
deployments   ask for one, or for its end            deploy, rollback, watch, task, repair, cancel
looking       look, and change nothing               status, history, log, diff, config, doctor, …
backups       keep data, and bring it back           backup, backups, drill, restore
check         would it deploy                        check
run           run a command as the application       run
assign        set variables                          set, unset
projects      make and remove them                   init, remove
made          made from the table of operations      archives, stats, link, …
keys          say who may                            key, freeze, thaw
tokens        make tokens of the API               token
web           serve the API                         web
notify        try a notification out                 notify
host          what a host needs                      setup, daemon, rebuild, help, demo
demo, pages   the demo, the pages of the documentation
tables        reports as tables, where there is a terminal
base          what all of these share
"""
