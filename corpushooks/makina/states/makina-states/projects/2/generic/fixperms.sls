# Owners and modes of a project's tree, as in old fixperms.sls files.
{% set cfg = opts.ms_project %}
{% set owner = '--user ' ~ cfg.user if cfg.get('user') and salt['user.info'](cfg.user) else '' %}
{% set group = '--group ' ~ cfg.group if salt['group.info'](cfg.group) else '' %}
{{ cfg.name }}-fixperms:
  cmd.run:
    - name: >-
        {{ salt['mc_locations.settings']().resetperms }} --quiet {{ owner }} {{ group }}
        --dmode 0770 --fmode 0770 --paths {{ cfg.project_root }}
