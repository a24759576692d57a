# GPUs by type, an account that pays. `sinfo -o "%P %G %l"` lists partitions, GPU types and time limits;
# `sacctmgr show associations user=$USER format=account,qos` the accounts.
export SBATCH_PARTITION=gpu
export SBATCH_ACCOUNT=my_project
export SBATCH_GRES=gpu:a100:1
export SBATCH_TIMELIMIT=24:00:00
