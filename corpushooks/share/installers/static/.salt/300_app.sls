{#- The site itself: its files are in the commit. Add build steps here. #}
{% set cfg = opts.ms_project %}

{{ cfg.name }}-doc-root:
  file.exists:
    - name: {{ cfg.data.doc_root }}/index.html
