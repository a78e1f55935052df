{% from "makina-states/_macros/packages.jinja" import packages, service with context %}
include:
  - makina-states.services.sound.mumble.hooks
{{ packages('makina-states.services.sound.mumble', 'mumble-server'.split(), 'mumble-pre-install-hook',
            'mumble-post-install-hook', id='mumble-pkgs') }}
{{ service({'name': salt['mc_utils.get']('makina-states.services.sound.mumble.service') or 'mumble-server'}, (
    ('makina-mumble-service', true, 'mumble-pre-restart-hook', 'mumble-post-restart-hook'),)) }}
