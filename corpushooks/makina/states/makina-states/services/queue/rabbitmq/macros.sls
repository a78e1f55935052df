{#- Virtual hosts and users of RabbitMQ. Their arguments are in docs/makina-states.md. -#}
{% macro rabbitmq_vhost(db, user=None, password=None, user_creation=True, state_uid=None) %}
{% set uid = state_uid or db | replace('.', '_') | replace(' ', '_') %}
makina-rabbitmq-db-{{ uid }}:
  rabbitmq_vhost.present:
    - name: {{ db | json }}
    - require:
      - mc_proxy: rabbitmq-post-restart
    - require_in:
      - mc_proxy: rabbitmq-db-create-hook
{% if user_creation %}
{{ rabbitmq_user(user or db, password, perms=[{db: ['.*', '.*', '.*']}], state_uid=uid) }}
{% endif %}
{% endmacro %}

{% macro rabbitmq_user(user, password, perms=None, state_uid=None, tags=None) %}
makina-rabbitmq-create-{{ user }}-{{ state_uid or user | replace('.', '_') | replace(' ', '_') }}:
  rabbitmq_user.present:
    - name: {{ user | json }}
    - password: {{ (password or salt['mc_utils.generate_stored_password']('rabbitmq_user_' ~ user)) | string | json }}
    - perms: {{ (perms or [{'/': ['.*', '.*', '.*']}]) | json }}
{% if tags is not none %}{# no tags are written as [''] for Salt, which would set [] again each time #}
    - tags: {{ (tags or ['']) | json }}
{% endif %}
    - require:
      - mc_proxy: rabbitmq-db-create-hook
{% endmacro %}
