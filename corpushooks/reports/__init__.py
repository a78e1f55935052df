"""Reports: they only read.

reports      the reports on projects, by name             inspection   the status of a project, and its cfg
statistics   statistics of deployments                    variables    variables set by `corpus set`
report       the result of a report
trail        who asked for what                           on_nodes     where a project is on its nodes
app_log      the log of an application                    checkup      check projects and folders without deploying
weights      disk space, remembered for a while
places       disk space, tasks and names of a project     tested       the results of tests that a task left
"""
