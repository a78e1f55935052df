"""What a deployment tells, as the lines that people read: events to lines. Values only.

screen        events of one log to lines
rows          columns, and how a line is made
states        the states of an SLS
words         how a deployment begins and ends, and what it names in between
failure       why a state failed
view          projects and deployments, in words and lines
"""
