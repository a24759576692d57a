"""The world of small pictures: generated creatures, things and land, with what is known about each picture.

`sets` names the picture sets of the tasks, `pretraining` what the packaged mini ViT has seen, `species` what it has
not.
Importing any of it imports neither torch nor an image library.
"""
