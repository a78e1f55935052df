{#- Prerequisites of the host. On a server only: elsewhere there are no rights to install them. #}
{% set cfg = opts.ms_project %}
{% set server = grains.uid == 0 and cfg.projects_dir == '/srv/projects' %}

{% if server %}
{{ cfg.name }}-packages:
  pkg.installed:
    - pkgs: {{ cfg.data.packages | tojson }}

{#- project/ belongs to the user and the group of the project; nginx reads it as a member of the group. #}
{{ cfg.name }}-nginx-reads:
  user.present:
    - name: www-data
    - groups: [{{ cfg.group }}]
    - remove_groups: false
    - require:
      - pkg: {{ cfg.name }}-packages
  cmd.run:
    - name: service nginx restart
    - onchanges:
      - user: {{ cfg.name }}-nginx-reads
{% else %}
{{ cfg.name }}-packages:
  test.show_notification:
    - text: "no server: not installed: {{ cfg.data.packages | join(' ') }}"
{% endif %}
