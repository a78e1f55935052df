{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
{% import "makina-states/services/db/postgresql/macros.sls" as macros with context %}
{% import "makina-states/services/db/postgresql/hooks.sls" as hooks with context %}
{% set pgsql = salt['mc_pgsql.settings']() %}
{% set orchestrate = hooks.orchestrate %}
{% set postgresql_group = macros.postgresql_group %}
{% set postgresql_db = macros.postgresql_db %}
{% set postgresql_user = macros.postgresql_user %}
{% set install_pg_ext = macros.install_pg_ext %}
{% set install_pg_exts = macros.install_pg_exts %}
include:
  - makina-states.services.db.postgresql.hooks
  - makina-states.services.db.postgresql.client
{{ packages('makina-states.services.db.postgresql', pgsql.packages, 'makina-postgresql-pre-pkg',
            'makina-postgresql-post-pkg', id='postgresql-pkgs') }}
{{ service({'name': pgsql.service}, (
    ('makina-postgresql-service', false, 'makina-postgresql-presetup', 'makina-postgresql-post-base'),)) }}
