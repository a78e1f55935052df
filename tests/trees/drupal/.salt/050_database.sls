{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.db.mysql
{{cfg.name}}-database:
  cmd.run:
    - name: |
        mysql -e "CREATE DATABASE IF NOT EXISTS \`{{data.db_name}}\`"
        mysql -e "CREATE USER IF NOT EXISTS '{{data.db_user}}'@'localhost' IDENTIFIED BY '{{data.db_password}}'"
        mysql -e "GRANT ALL ON \`{{data.db_name}}\`.* TO '{{data.db_user}}'@'localhost'"
    - require:
      - mc_proxy: mysql-post-restart-hook
