cwlVersion: v1.2
class: CommandLineTool
requirements:
  DockerRequirement:
    dockerFile: |
      FROM localhost:PORT/py:1
      ENV GREETING=hello
      RUN echo built > /opt/built
baseCommand: [sh, -c, "cat /opt/built; echo $GREETING"]
stdout: out.txt
inputs: []
outputs:
  out: stdout
