"""Values without effects, which everything else can import.

errors         the exception tree: exit codes, hints        hints          commands to run, spelled where they are shown
text           foreign text, made harmless                  redaction      secrets, taken out of text
records        values to JSON and back, by their types      schema         settings: types, checks, documentation
project        names and paths of hosts and projects        deployment     requests, deployments, states, transitions
events         the events of a running deployment           rights         the rights of accounts and grants
settings       the settings of a host                       directory      the settings of a directory (LDAP)
provider       the settings of an identity provider        editing        change a setting in their text
backups        the settings of backups                      notification   notifications and their templates
claims         ports and addresses of a project             services       units and log files of a project
command        a command run as an application              rollouts      orders of a controller, answers of a node
policy         the settings of rollouts                     junit          the results of tests, read from JUnit files
"""
