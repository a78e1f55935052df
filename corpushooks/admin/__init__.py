"""Create and repair a host and its projects.

projects     create, repair, unlink and remove projects   installer    templates for a first commit
setup/       set up a machine as a host, and undo it      doctor/      check a host for faults
rebuild      rebuild a lost store                         freezing     freeze and thaw projects
disaster     back up the host itself, and restore it
"""
