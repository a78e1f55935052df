"""What SLS files that were written for makina-states call.

loader/      modules and states of Salt                   states/      SLS files and macros that they include
extension/   mc_project, which stock Salt finds too       resetperms   the program that fixperms.sls files run
"""
