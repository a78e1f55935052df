"""Make and repair a host and its projects.

projects     make, rename, unlink and remove projects     installer    templates of a first commit
setup/       make a machine a host, and undo that         doctor/      what is wrong with a host
rebuild      make a lost store again                      freezing     freeze and thaw projects
"""
