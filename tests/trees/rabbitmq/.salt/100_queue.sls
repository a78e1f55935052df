{% import "makina-states/services/queue/rabbitmq/init.sls" as rabbitmq with context %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.queue.rabbitmq
{{ rabbitmq.rabbitmq_vhost(data.vhost, user=data.rabbit_user, password=data.rabbit_password) }}
