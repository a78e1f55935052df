{#- The site itself: its files came with the commit. Build here what is made from them. #}
{% set cfg = opts.ms_project %}

{{ cfg.name }}-doc-root:
  file.exists:
    - name: {{ cfg.data.doc_root }}/index.html
