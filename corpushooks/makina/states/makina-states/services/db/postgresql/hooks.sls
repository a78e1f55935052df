{% from "makina-states/_macros/hooks.jinja" import hooks %}
{% set version = salt['mc_pgsql.settings']().version %}
{% set each = {} %}
{% for what in ('group', 'db', 'user') %}{% for when in ('pre', 'post') %}
{% do each.update({when ~ what: version ~ '-makina-postgresql-' ~ when ~ '-create-' ~ what}) %}
{% endfor %}{% endfor %}
{% set orchestrate = {
  version: each,
  'base': {
    'prebase': 'makina-postgresql-pre-base', 'prepkg': 'makina-postgresql-pre-pkg',
    'postpkg': 'makina-postgresql-post-pkg', 'presetup': 'makina-postgresql-presetup',
    'postbase': 'makina-postgresql-post-base', 'postinst': 'makina-postgresql-post-inst'}} %}
{{ hooks("postgresql", version) }}
