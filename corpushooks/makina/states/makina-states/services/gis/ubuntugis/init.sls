{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.services.gis.ubuntugis.hooks
{{ packages('makina-states.services.gis.ubuntugis', [], 'ubuntugis-pre-install-hook', 'ubuntugis-post-install-hook',
            id='ubuntugis-pkgs') }}
