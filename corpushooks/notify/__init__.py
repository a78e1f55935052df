"""Telling people who are not there.

announce     what is told: how a deployment ended, that a project is there
send         by apprise, in a process of its own, for which nothing waits
"""
