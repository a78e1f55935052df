{% set cfg = opts.ms_project %}
{% import "makina-states/_macros/h.jinja" as h with context %}
{% macro after() %}
    - require_in:
      - cmd: {{cfg.name}}-cache
{% endmacro %}
{{ h.deliver_config_files(cfg.data.configs, dir='makina-projects/{0}/files'.format(cfg.name), user=cfg.user,
                          group=cfg.group, after_macro=after, project=cfg.name, cfg=cfg.name) }}
{{cfg.name}}-cache:
  cmd.run:
    - name: drush -r {{cfg.data.doc_root}} cache-clear all
    - onlyif: test -e {{cfg.data.doc_root}}/index-drush.php
