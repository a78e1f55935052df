"""What a deployment brings, as Salt sees it.

release      SLS files, pillar, secrets                   commits      whether a commit can be deployed
config       cfg: layers merged                           cfg          the cfg of a release, and the last one
keys         the keys of cfg, their defaults and checks   references   `{K}` in a text of cfg
assigned     what `corpus set` gives                      app_units    units and logs that a project names
contents     files that Salt may read, as text            paths        what paths and links of a commit may be
survey       all that can be found wrong before it runs   edits        what was changed by hand
"""
