# Where Snakemake looks first; everything is in workflow/.
include: "workflow/Snakefile"


# What is included has no say in what is made by default.
rule products:
    input:
        rules.all.input,
