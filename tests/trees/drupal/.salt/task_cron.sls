{% set cfg = opts.ms_project %}
{{cfg.name}}-cron:
  cmd.run:
    - name: php cron.php
    - cwd: {{cfg.data.doc_root}}
