"""Values without effects, which everything else may import.

errors         the exception tree: exit codes, hints        hints          commands to run, spelled where they are shown
text           foreign text, made harmless                  redaction      secrets, taken out of text
records        values to JSON and back, by their types      schema         a mapping of settings, checked and documented
project        names and paths of hosts and projects        deployment     requests, deployments, states, transitions
events         what a deployment tells while it runs        rights         which account and which grant may do what
settings       the settings of a host                       directory      what they say of a directory (LDAP)
backups        what they say of backups                     notification   what people are told, and its template
claims         ports and addresses that a project claims    services       units and log files that a cfg names
command        a command run as an application
"""
