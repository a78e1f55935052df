{% set cfg = opts.ms_project %}
prepreqs-{{cfg.name}}:
  pkg.installed:
    - pkgs:
      - libmysqlclient-dev
      - mysql-client-5.5
      - python-mysqldb
