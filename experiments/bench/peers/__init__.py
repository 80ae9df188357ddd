"""The same computations written with PyTorch, Flax or CTranslate2.

Peers never import `cases`. A peer whose package is optional is imported only where the
package is installed.
"""
