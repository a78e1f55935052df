{% set cfg = opts.ms_project %}
{% set scfg = salt['mc_utils.json_dump'](cfg) %}
{% for config, cdata in cfg.data.configs.items() %}
{{cfg.name}}-config-{{config}}:
  file.managed:
    - name: {{cdata.target}}
    - source: salt://makina-projects/{{cfg.name}}/files/{{config}}
    - template: jinja
    - makedirs: true
    - user: {{cfg.user}}
    - group: {{cfg.group}}
    - mode: {{cdata.mode}}
    - defaults:
        cfg: |
             {{scfg}}
{% endfor %}
