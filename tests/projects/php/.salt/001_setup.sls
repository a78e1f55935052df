{% set cfg = opts['ms_project'] %}
{% set php = salt['mc_php.settings']() %}
{% set data = cfg.data %}
prepreqs-{{cfg.name}}:
  pkg.{{salt['mc_pkgs.settings']()['installmode']}}:
    - pkgs:
      - {{ php.packages.mysql }}
      - {{ php.packages.gd }}
      - {{ php.packages.curl }}
      - apache2-utils
{{cfg.name}}-htaccess:
  file.managed:
    - name: {{data.htaccess}}
    - source: ''
    - user: www-data
    - group: www-data
    - mode: 770
# names that a module of the project makes
{% for name in salt['folders.of'](cfg.data_root) %}
{{name}}:
  file.directory:
    - makedirs: true
    - watch:
      - pkg: prepreqs-{{cfg.name}}
{% endfor %}
