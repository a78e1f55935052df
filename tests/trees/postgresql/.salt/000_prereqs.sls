{% set cfg = opts.ms_project %}
include:
  - makina-states.services.db.postgresql.client
prepreqs-{{cfg.name}}:
  pkg.latest:
    - pkgs:
      - libpq-dev
      - postgresql-server-dev-9.4
      - postgresql-contrib
{{cfg.data.dump}}:
  file.directory:
    - makedirs: true
    - user: {{cfg.user}}
