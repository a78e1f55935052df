{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
{% import "makina-states/services/queue/rabbitmq/macros.sls" as macros with context %}
{% set rabbitmq_vhost = macros.rabbitmq_vhost %}
{% set rabbitmq_user = macros.rabbitmq_user %}
include:
  - makina-states.services.queue.rabbitmq.hooks
{{ packages('makina-states.services.queue.rabbitmq', 'rabbitmq-server'.split(), 'rabbitmq-pre-install',
            'rabbitmq-post-install', id='rabbitmq-pkgs') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.queue.rabbitmq.service') or 'rabbitmq-server'}, (
    ('makina-rabbitmq-restart-service', true, 'rabbitmq-pre-hardrestart', 'rabbitmq-post-hardrestart'),
    ('makina-rabbitmq-service', false, 'rabbitmq-pre-restart', 'rabbitmq-post-restart'))) }}
