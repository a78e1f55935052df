{% from "makina-states/_macros/unsupported.jinja" import unsupported, unsupported_file with context %}
{{ unsupported_file('makina-states.services.backup.dbsmartbackup') }}
