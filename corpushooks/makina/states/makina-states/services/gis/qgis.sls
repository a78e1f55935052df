{% from "makina-states/_macros/packages.jinja" import packages with context %}
include:
  - makina-states.services.gis.ubuntugis
{{ packages('makina-states.services.gis.qgis', 'qgis-server'.split(), 'ubuntugis-pre-install-hook',
            'ubuntugis-post-install-hook', id='prereq-qgis') }}
