include:
  - makina-states.localsettings.users.hooks
{#- A person: a user with a home and a group, and in further groups if those exist. -#}
{% macro create_user(id, udata=None) %}
{% set data = udata or {} %}
{% set groups = [id] + (data.get('groups') or []) + (['adm', 'sudo'] if data.get('admin') else []) %}
{{ id | json }}:
  group.present:
    - name: {{ data.get('group') or id | json }}
    - system: {{ data.get('system', False) }}
  user.present:
    - name: {{ id | json }}
    - gid: {{ data.get('group') or id | json }}
    - system: {{ data.get('system', False) }}
{% if id != 'root' %}
    - fullname: {{ id ~ ' user' }}
    - createhome: true
    - shell: {{ data.get('shell') or '/bin/bash' }}
    - home: {{ (data.get('home') or '/home/users/' ~ id) | json }}
    - optional_groups: {{ groups | unique | list | json }}
    - remove_groups: false
{% endif %}
{% if data.get('password') %}
    - password: {{ data.password | json }}
    - enforce_password: true
{% endif %}
    - require:
      - group: {{ id | json }}
{% if id != 'root' and not data.get('home') %}
      - file: {{ id }}-homes
{% endif %}
    - require_in:
      - mc_proxy: users-ready-hook
{% set others = data | reject('in', ('group', 'groups', 'admin', 'system', 'home', 'shell', 'password')) | list %}
{% if others %}
{{ (id ~ '-left-out') | json }}:
  mc_proxy.missing:
    - what: {{ ('create_user ' ~ id ~ ' ignores ' ~ others | join(', ')
                ~ ('; for keys use ssh_auth.present' if others | select('match', 'ssh') | list else '')) | json }}
{% endif %}
{% if id != 'root' and not data.get('home') %}
{{ id }}-homes:
  file.folder:
    - name: /home/users
{% endif %}
{% endmacro %}
{% set add_user = create_user %}
{% if sls == 'makina-states.localsettings.users' %}
{% for id, data in (salt['mc_utils.get']('makina-states.localsettings.users') or {}).items() %}
{{ create_user(id, data) }}
{% endfor %}
{% endif %}
