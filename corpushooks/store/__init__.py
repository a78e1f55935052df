"""What outlives the daemon: one sqlite file, and the logs.

database     the file: versions, transactions             migrations   what each version makes of the one before
history      projects, deployments, the journal           held         how states change, and who wins
claimed      claims of all projects                       vitals       health of live releases
kept         backups that are whole                       ran          commands run as applications
lease        how long a deployment is held                log          the events of one deployment, in a file
lost         whether the store has lost deployments
old_logs     logs of older versions, whose lines are text
"""
