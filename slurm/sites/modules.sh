# Software from environment modules. The Python of .venv was made with the Python of these modules, so jobs load them.
export SBATCH_PARTITION=gpu
export SBATCH_GRES=gpu:1
export SBATCH_TIMELIMIT=24:00:00
WEGEFT_SITE=$(realpath "${BASH_SOURCE[0]}")
export WEGEFT_SITE
if [ -n "${SLURM_JOB_ID:-}" ]; then
    module purge
    module load python/3.11 cuda/12.8
fi
