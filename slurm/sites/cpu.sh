# No GPUs: the mini scale, whose runs use one thread.
export SBATCH_PARTITION=cpu
export SBATCH_GPUS_PER_NODE=0
export SBATCH_MEM_PER_NODE=4G
export SBATCH_TIMELIMIT=1:00:00
