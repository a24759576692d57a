# The environment in an Apptainer (formerly Singularity) image, whose Python has what requirements.lock names. The project
# and the data stay outside and are bound in; --nv passes the GPUs through. SLURM's programs are not in the image: jobs
# keep the name `wegeft`, everything else works.
export SBATCH_PARTITION=gpu
export SBATCH_GRES=gpu:1
export SBATCH_TIMELIMIT=24:00:00
export WEGEFT_PYTHON="apptainer exec --nv --bind $PWD --pwd $PWD wegeft.sif python"
