{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.db.mysql.hooks
{{ packages('makina-states.services.db.mysql', 'default-mysql-server'.split(), 'mysql-pre-install-hook', 'mysql-post-install-hook', id='makina-mysql-pkgs') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.db.mysql.service') or 'mariadb'}, (
    ('makina-mysql-restart-service', true, 'mysql-pre-hardrestart-hook', 'mysql-post-hardrestart-hook'),
    ('makina-mysql-service', true, 'mysql-pre-restart-hook', 'mysql-post-restart-hook'),)) }}
