"""A release: the code and pillar of a deployment, as Salt sees them.

release      SLS files, pillar, secrets                   commits      check whether a commit can be deployed
config       merge the layers of the cfg                  cfg          the cfg of a release, and the last one
keys         the keys of cfg, their defaults and checks   references   `{K}` in values of the cfg
assigned     variables set by `corpus set`                app_units    units and logs that a project names
contents     files that Salt can read, as text            paths        rules for paths and links of a commit
survey       all checks before a release runs             edits        changes made by hand
"""
