"""Compatibility with SLS files that were written for makina-states.

loader/      modules and states of Salt                   states/      SLS files and macros that they include
extension/   mc_project, also for stock Salt              resetperms   the program that fixperms.sls files run
"""
