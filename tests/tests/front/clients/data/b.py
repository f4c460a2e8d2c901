with open(snakemake.input[0]) as file:
    text = file.read()
with open(snakemake.output[0], "w") as file:
    file.write(text + "more\n")
