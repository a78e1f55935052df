"""Turn the events of deployments into lines for people. Values only.

screen        the events of a log
rows          columns and rows
states        the states of an SLS
words         the first and last lines of a deployment, and lists
failure       why a state failed
view          projects and deployments
"""
