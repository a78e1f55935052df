{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.mail.postfix.hooks
{{ packages('makina-states.services.mail.postfix', 'postfix'.split(), 'postfix-preinstall', 'postfix-postinstall') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.mail.postfix.service') or 'postfix'}, (
    ('makina-postfix-service', true, 'postfix-prerestart', 'postfix-postrestart'),)) }}
