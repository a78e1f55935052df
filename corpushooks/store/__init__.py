"""Persistent data: one sqlite file, and the logs.

database     the file: versions, transactions             migrations   the schema of each version
history      projects, deployments, the journal           held         transitions of states, and holds
claimed      claims of all projects                       vitals       health of live releases
kept         complete backups                             ran          commands run as applications
audit        who asked for what
lease        the duration of a hold                       log          the events of one deployment, in a file
fleet        the nodes of a controller, and on a node its controllers and their orders
standing     how what a node runs compares with what is live here
lost         whether the store has lost deployments
old_logs     logs of older versions, in lines of text
"""
