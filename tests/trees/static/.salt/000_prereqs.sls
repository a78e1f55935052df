{% set cfg = opts.ms_project %}
{{cfg.name}}-prereqs:
  pkg.{{salt['mc_pkgs.settings']()['installmode']}}:
    - pkgs:
      - rsync
      - apache2-utils
      - rsync
{{cfg.name}}-dirs:
  file.directory:
    - names:
      - {{cfg.data_root}}/var/log
      - {{cfg.data.doc_root}}
    - makedirs: true
    - user: {{cfg.user}}
    - group: {{cfg.group}}
    - watch:
      - pkg: {{cfg.name}}-prereqs
