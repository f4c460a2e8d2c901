cwlVersion: v1.2
class: Workflow
requirements:
  DockerRequirement:
    dockerPull: localhost:PORT/py:1
inputs:
  word: string
outputs:
  out: {type: File, outputSource: three/o}
steps:
  one:
    run:
      class: CommandLineTool
      baseCommand: [python3, -c, "import sys; print(sys.argv[1] * 2)"]
      inputs: {w: {type: string, inputBinding: {position: 1}}}
      outputs: {o: {type: stdout}}
      stdout: one.txt
    in: {w: word}
    out: [o]
  two:
    run:
      class: CommandLineTool
      baseCommand: [sh, -c, 'cat "$0"; . /etc/os-release; echo $VERSION_CODENAME']
      inputs: {f: {type: File, inputBinding: {position: 1}}}
      outputs: {o: {type: stdout}}
      stdout: two.txt
    in: {f: one/o}
    out: [o]
  three:
    run:
      class: CommandLineTool
      baseCommand: [sed, s/a/A/]
      inputs: {f: {type: File, inputBinding: {position: 1}}}
      outputs: {o: {type: stdout}}
      stdout: three.txt
    in: {f: two/o}
    out: [o]
