restart:
  cmd.run:
    - name: sh restart.sh "{{ cfg.data_root }}"
    - cwd: {{ cfg.project_root }}
    - env:
      - PYTHON: {{ grains.pythonexecutable }}

# The deployment succeeds if the application answers.
answers:
  cmd.run:
    - name: '"$PYTHON" check.py'
    - cwd: {{ cfg.project_root }}
    - env:
      - PYTHON: {{ grains.pythonexecutable }}
    - require:
      - cmd: restart
